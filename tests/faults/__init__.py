"""A process is killed, or its disk or database fails it, at every step of a deployment or a rollback."""
