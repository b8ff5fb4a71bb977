"""Studies: the risks and delays of the rules, compared with other projects' rules. Run them with `make study`."""
