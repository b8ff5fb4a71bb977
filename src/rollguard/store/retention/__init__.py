"""What is kept, for how long, and in which partition."""
