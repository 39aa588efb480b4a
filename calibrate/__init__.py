"""Steps, pipelines and their parameters: what happens to pixels."""
