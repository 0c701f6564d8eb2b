"""The comparison page of all models: reports/index.html and reports/results.csv.

comparison: read results/. metrics: the columns. ranking: which model is best. pictures: images and
figures as WebP. facts, card, stored_results: the parts of the page. words, equations and
model_notes.yaml: its texts. view: the numbers for the scripts. page: the whole page, with the
templates of templates/, the style and the scripts of assets/. differences: `latentlab compare`.
"""
