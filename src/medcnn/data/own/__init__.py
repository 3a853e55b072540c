"""A hospital's own data: a folder, a spreadsheet, DICOM files."""
