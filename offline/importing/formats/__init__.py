"""The formats that `import` reads, one file each: where their files are, and which column is which field."""
