"""The batch service: sites, driver, command line, report."""
