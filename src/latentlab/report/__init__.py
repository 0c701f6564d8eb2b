"""The comparison page: columns, results, curves, page (in page.html's frame)."""
