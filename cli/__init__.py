"""The door for people: one file a command, each with arguments, one call and one printed result."""
