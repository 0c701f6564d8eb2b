"""What `latentlab init` decides: image size, models and length of the trainings.

survey    a folder of images: how many, how large, grey or colour, which classes
probe     seconds that a model needs for one image, measured on this machine
budget    how many epochs of which models fit into some minutes
plan      survey, probe and budget of a project; its table
project   writes the project, in new_folder

image_files   opens the images of a project, for `latentlab check`
"""
