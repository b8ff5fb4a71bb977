"""The contract's SQL and Python, verbatim, and the pages that speak of them."""
