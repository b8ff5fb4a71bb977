"""The rollback's journal."""
