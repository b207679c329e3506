"""Everything that is generated in this repository: from the models, and from the chart."""
