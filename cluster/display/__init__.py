"""Progress, tables and reports for terminals and notebooks."""
