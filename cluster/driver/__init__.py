"""The driver: what feeds a site and records what comes back."""
