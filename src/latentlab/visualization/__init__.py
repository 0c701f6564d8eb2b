"""Image grids and charts as PNG files.

grids: images side by side. charts: curves and scatter plots. panels: charts of several panels,
for tasks.
"""
