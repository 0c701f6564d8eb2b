"""One model a file. Each opens with its idea, its paper and its objective."""
