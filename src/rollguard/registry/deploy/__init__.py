"""Make versions live, in the folder or at a target."""
