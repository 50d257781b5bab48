"""Models as other tools write them: any order of nodes, functions, sparse tensors, branches, outputs listed twice."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from oracle import as_model, floats, ort_outputs
from pycompress.errors import ModelError
from pycompress.lower import LoadLimits, load

X = floats(np.random.default_rng(0), 2, 3)


def run(model, **feed):
    return pc.InferenceSession(model).run(None, feed or {"x": X})


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, **attributes)


def port(name, kind=TensorProto.FLOAT, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


@pytest.mark.parametrize("seed", range(4))
def test_nodes_may_stand_in_any_order(seed):
    chain = [node("Neg", ["x"], ["t0"]), *(node("Sin", [f"t{i}"], [f"t{i + 1}"]) for i in range(6)),
             node("Add", ["t3", "t6"], ["y"])]  # fmt: skip
    shuffled = [chain[i] for i in np.random.default_rng(seed).permutation(len(chain))]
    np.testing.assert_array_equal(run(as_model(shuffled, {"x": X}, ["y"]))[0], run(as_model(chain, {"x": X}, ["y"]))[0])


def test_the_caller_s_model_keeps_its_order():
    model = as_model([node("Relu", ["a"], ["y"]), node("Neg", ["x"], ["a"])], {"x": X}, ["y"])
    before = model.SerializeToString()
    run(model)
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    "nodes,words",
    [
        ([("Relu", ["b"], ["a"]), ("Neg", ["a"], ["b"]), ("Neg", ["b"], ["y"])], "node 'a' .Relu.: .*cycle"),
        ([("Add", ["x", "y"], ["y"])], "node 'y' .Add.: .*cycle"),
        ([("Relu", ["q"], ["y"])], "node 'y' .Relu.: input 'q' is not made by any node"),
    ],
)
def test_cycles_and_missing_tensors_are_refused_by_a_name_that_the_file_has(nodes, words):
    with pytest.raises(ModelError, match=words):
        load(as_model([node(*n) for n in nodes], {"x": X}, ["y"]))


def test_a_tensor_may_be_several_outputs_in_models_and_in_plans(tmp_path):
    model = as_model([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["z"])], {"x": X}, ["y", "z", "y"])
    want = [np.maximum(X, 0), -X, np.maximum(X, 0)]
    plan = pc.compile(model)
    plan.save(tmp_path / "m.plan.safetensors")
    for source in (model, plan, tmp_path / "m.plan.safetensors"):
        got = run(source)
        assert len(got) == 3
        for a, b in zip(got, want):
            np.testing.assert_array_equal(a, b)


def test_an_input_may_be_an_output():
    got = run(as_model([node("Neg", ["x"], ["y"])], {"x": X}, ["x", "y"]))
    np.testing.assert_array_equal(got[0], X)
    np.testing.assert_array_equal(got[1], -X)


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("where", ["initializer", "constant"])
def test_sparse_tensors_are_dense_here(flat, where):
    index = [1, 5] if flat else [[0, 1], [1, 2]]
    values = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array(index, np.int64), "i"), [3, 3])
    W = np.zeros((3, 3), np.float32)
    W[0, 1], W[1, 2] = 1, 2
    product = node("MatMul", ["x", "w"], ["y"])
    model = as_model([product], {"x": X}, ["y"])
    if where == "initializer":
        model.graph.sparse_initializer.append(sparse)
    else:
        model = as_model([node("Constant", [], ["w"], sparse_value=sparse), product], {"x": X}, ["y"])
    np.testing.assert_allclose(run(model)[0], X @ W, rtol=1e-6)
    model.graph.output[0].CopyFrom(port("y"))
    np.testing.assert_allclose(run(pc.prune(model, 0.0, exclude=[]))[0], X @ W, rtol=1e-6)


@pytest.mark.parametrize(
    "values,index,dims,words",
    [
        ([1.0], [9], [3, 3], "an index lies outside"),
        ([1.0], [-1], [3, 3], "an index lies outside"),
        ([1.0, 2.0], [1], [3, 3], "needs values"),
        ([1.0], [1], [2**20, 2**20], "not supported"),
    ],
)
def test_sparse_tensors_that_do_not_fit_are_refused(values, index, dims, words):
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("w", TensorProto.FLOAT, [len(values)], values),
        helper.make_tensor("i", TensorProto.INT64, [len(index)], index),
        [3, 3],
    )
    sparse.dims[:] = dims
    model = as_model([node("MatMul", ["x", "w"], ["y"])], {"x": X}, ["y"])
    model.graph.sparse_initializer.append(sparse)
    with pytest.raises(ModelError, match=words):
        load(model)


def functions(*parts):
    made = []
    for name, inner in parts:
        made.append(
            helper.make_function(
                "mine", name, ["a"], ["b"], inner, [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
            )  # fmt: skip
        )
    model = as_model([helper.make_node(parts[0][0], ["x"], ["y"], domain="mine")], {"x": X}, ["y"], opset=17)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.functions.extend(made)
    return model


def test_local_functions_are_inlined_also_where_they_call_each_other():
    relu = ("Inner", [node("Relu", ["a"], ["b"])])
    outer = ("Outer", [helper.make_node("Inner", ["a"], ["t"], domain="mine"), node("Neg", ["t"], ["b"])])
    np.testing.assert_array_equal(run(functions(outer, relu))[0], -np.maximum(X, 0))


def test_functions_that_call_themselves_or_grow_without_bound_are_refused():
    with pytest.raises(ModelError, match="function 'F' of domain 'mine' calls itself"):
        load(functions(("F", [helper.make_node("F", ["a"], ["b"], domain="mine")])))
    levels = [
        (f"L{i}", [helper.make_node(f"L{i + 1}", [a], [b], domain="mine") for a, b in (("a", "t"), ("t", "b"))])
        for i in range(40)
    ]
    with pytest.raises(ModelError, match="more than 1000 nodes"):
        load(functions(*levels, ("L40", [node("Relu", ["a"], ["b"])])), limits=LoadLimits(nodes=1000))


def branches(condition):
    then = helper.make_graph([node("Squeeze", ["x", "ax"], ["t"])], "t", [], [port("t")])
    other = helper.make_graph([node("Mul", ["x", "two"], ["t"])], "e", [], [port("t")],
                              [numpy_helper.from_array(np.float32(2), "two")])  # fmt: skip
    nodes = [*condition, helper.make_node("If", ["k"], ["y"], then_branch=then, else_branch=other)]
    constants = {"ax": np.array([0]), "i0": np.int64(0), "c1": np.int64(1)}
    model = as_model(nodes, {"x": X} | constants, ["y"], list(constants))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    return model


OF_SHAPE = [node("Shape", ["x"], ["s"]), node("Gather", ["s", "i0"], ["d"]), node("Equal", ["d", "c1"], ["k"])]


def test_if_takes_the_branch_that_shapes_decide():
    session = pc.InferenceSession(branches(OF_SHAPE))
    np.testing.assert_array_equal(session.run(None, {"x": X[:1]})[0], X[0])
    np.testing.assert_array_equal(session.run(None, {"x": X})[0], 2 * X)


def test_if_whose_condition_is_computed_at_run_time_must_be_able_to_run_both_branches():
    nodes = [node("ReduceMax", ["x"], ["m"], keepdims=0), node("Greater", ["m", "f"], ["k"])]
    model = branches([node("Constant", [], ["f"], value_float=0.0), *nodes])
    with pytest.raises(
        ModelError, match="node 'y' .If.: .* not both of its branches can be run: node 't' .Squeeze.: axes"
    ):
        run(model)


def test_if_on_a_graph_input_takes_the_branch_of_each_call():
    model = branches([])
    model.graph.input.append(port("k", TensorProto.BOOL, []))
    session = pc.InferenceSession(model)
    for _ in range(2):
        np.testing.assert_array_equal(session.run(None, {"x": X[:1], "k": np.bool_(True)})[0], X[0])
        np.testing.assert_array_equal(session.run(None, {"x": X, "k": np.bool_(False)})[0], 2 * X)
    with pytest.raises(ModelError, match="graph input 'k' must be known when planning"):
        pc.compile(model, input_shapes={"x": (2, 3)})


def test_a_shape_that_a_branch_reads_from_a_graph_input_is_known():
    then = helper.make_graph([node("Reshape", ["x", "to"], ["t"])], "t", [], [port("t")])
    choice = helper.make_node("If", ["yes"], ["y"], then_branch=then, else_branch=then)
    model = as_model([choice], {"x": X, "to": np.array([3, 2]), "yes": np.bool_(True)}, ["y"], ["yes"])
    np.testing.assert_array_equal(run(model, x=X, to=np.array([3, 2]))[0], X.reshape(3, 2))


def test_branches_in_branches_read_what_lies_around_them():
    inner = helper.make_graph([node("Add", ["x", "u"], ["w"])], "i", [], [port("w")])
    deep = helper.make_node("If", ["yes"], ["v"], then_branch=inner, else_branch=inner)
    then = helper.make_graph([node("Neg", ["x"], ["u"]), deep], "t", [], [port("v")])
    other = helper.make_graph([node("Identity", ["x"], ["q"])], "e", [], [port("q")])
    model = as_model([helper.make_node("If", ["yes"], ["y"], then_branch=then, else_branch=other)],
                     {"x": X, "yes": np.bool_(True)}, ["y"], ["yes"])  # fmt: skip
    np.testing.assert_array_equal(run(model)[0], np.zeros_like(X))


def test_open_dimensions_may_be_declared_negative_or_not_at_all():
    for shape in ([-1, 3], None):
        model = as_model([node("Relu", ["x"], ["y"])], {"x": X}, ["y"])
        model.graph.input[0].CopyFrom(port("x", shape=shape))
        session = pc.InferenceSession(model)
        for rows in (1, 2):
            np.testing.assert_array_equal(session.run(None, {"x": X[:rows]})[0], np.maximum(X[:rows], 0))
    with pytest.raises(ModelError, match="input 'x': its shape is not declared; give input_shapes"):
        pc.compile(model)
    np.testing.assert_array_equal(ort_outputs(model, {"x": X})[0], run(pc.compile(model, input_shapes=(2, 3)))[0])
