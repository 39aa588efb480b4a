"""The state of a batch, read from its ledger, as text and as HTML."""
