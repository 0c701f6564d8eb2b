"""The comparison page of all models: reports/index.html and reports/results.csv.

comparison: read results/. metrics: the columns. table, components, curves: parts of the page.
page: the whole page, with page.html as its frame.
"""
