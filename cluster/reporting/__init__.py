"""The report of a batch: its statistics, quick-looks, timings, references and failures."""
