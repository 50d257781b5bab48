"""Runs a network with another engine, for arm_count.py: ``arm_count_peer.py litert|ncnn|onnxruntime FILE RUNS``, one thread, zeros."""

import sys

import numpy as np


def litert(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    (port,) = interpreter.get_input_details()
    interpreter.set_tensor(port["index"], np.zeros(port["shape"], port["dtype"]))
    return interpreter.invoke


def ncnn(path):
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    net.load_param(path)
    net.load_model(path.removesuffix(".param") + ".bin")
    x = ncnn.Mat(np.zeros((3, 224, 224), np.float32)).clone()

    def run():
        extractor = net.create_extractor()
        extractor.input("in0", x)
        extractor.extract("out0")

    return run


def onnxruntime(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (port,) = session.get_inputs()
    feed = {port.name: np.zeros(port.shape, np.float32)}
    return lambda: session.run(None, feed)


if __name__ == "__main__":
    run = globals()[sys.argv[1]](sys.argv[2])
    for _ in range(int(sys.argv[3])):
        run()
