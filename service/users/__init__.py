"""What Redis knows of users: reading, caching and changing histories, events."""
