"""The driver: submits planned exposures to a site and records their outcomes."""
