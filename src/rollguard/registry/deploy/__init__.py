"""A version on its way to being live, in the folder or at a target."""
