"""When it happens: the room for scheduled flows, thin doors over the rooms below. Nothing lives here yet."""
