"""What an evaluation leaves on disk, and pictures of it."""
