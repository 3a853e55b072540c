"""What a hospital has itself: a folder, a spreadsheet, DICOM files."""
