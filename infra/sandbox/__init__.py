"""A fleet of real MySQL servers and an S3 store on one machine, for trials, tests and the demo."""
