"""Where images come from: data cards, folders, prompts; readers, suites, downloads."""
