"""Export a trained model: a folder with weights or programs, config.json and a model card.

card       README.md: a model card in Markdown with YAML front matter
programs   encode and decode as programs of torch.export, or as ONNX
folder     the files of each format

    safetensors    model.safetensors, sampler.safetensors: latentlab.load reads the folder
    torch.export   decode.pt2, encode.pt2: torch runs them, without latentlab
    onnx           decode.onnx, encode.onnx: ONNX Runtime and others run them
"""
