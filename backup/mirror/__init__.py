"""The mirror: kept up to date, and asked how it stands."""
