"""Studies: what the rules risk and how soon they act, beside the rules of others. Run by `make study`."""
