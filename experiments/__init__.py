"""Papers: what they claim, as figures and claims over records."""
