"""Files, errors, processes, memory and imports: no deep learning."""
