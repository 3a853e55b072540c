"""What goes to the archive of a hospital, and what comes from it. Heavy packages late; no torch but
in answering.py and review/.

answers.py     what a model says of one image, in plain values
headers.py     what objects inherit from their source image; UIDs that are functions of it
objects.py     answer and source image -> the DICOM objects to store beside it
report.py      the Structured Report
pictures.py    the Secondary Capture of the heat map
outlines.py    the presentation state that outlines its hot spots
storage.py     the receiver (Storage SCP)
door.py        whom it hears: not those who say nothing
web.py         DICOMweb: fetches images, stores results
spool.py       what arrived, and what became of it
worker.py      from the spool to the model and on
sending.py     to the peer by C-STORE
tls.py         whom both trust
answering.py   images -> objects; asks the model
review/        the page to review by
"""
