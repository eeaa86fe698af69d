"""The broker: which of several sites a unit goes to, what it learns from the past, and days to try it on."""
