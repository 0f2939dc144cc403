"""Scores from kept answers: programs run, judges asked, intervals taken. Needs neither a model nor torch."""
