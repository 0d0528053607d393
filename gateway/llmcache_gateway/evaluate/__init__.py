"""The evaluate command: what a configuration would do with labelled pairs of questions."""
