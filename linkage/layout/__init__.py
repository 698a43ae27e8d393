"""Pages to regions: columns, lines, blocks, headers, or the boxes that the user gives."""
