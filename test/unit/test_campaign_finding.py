"""What a person reads of a finding."""

import dataclasses
import unittest

from fxpect.campaign.finding import Finding
from fxpect.errors import CheckFailure
from fxpect.examples import Example
from fxpect.text.parser import parse_graph

TEXT = 'def forward(self, x: "f32[2]"):\n    return (x,)\n'
FINDING = Finding("numerics", "my_pass", TEXT, TEXT, "x=f32[2]", "output 0: values", "numerics:values", "", 1,
                  ("dtypes: x: torch.float16",), Example(parse_graph(TEXT), ()), CheckFailure("numerics", ""))


def told(**fields):
    """Return the report of a finding with these fields."""
    return str(dataclasses.replace(FINDING, **fields))


class ReportTests(unittest.TestCase):
    """The lines of a report."""

    def test_where_it_fails(self):
        """The first line names the pass, and the node of metadata; a message of two lines stays within its finding."""
        self.assertTrue(told().startswith("[numerics] pass my_pass: output 0: values\n  steps from the innocent model: "
                                          "dtypes: x: torch.float16\n"))
        of_node = dataclasses.replace(FINDING, oracle="metadata", message="one\ntwo", steps=(),
                                      failure=CheckFailure("metadata", "one", node="relu"))
        for finding in (of_node, of_node.crossing()):
            self.assertTrue(str(finding).startswith(
                "[metadata] pass my_pass node relu: one\n  two\n  steps from the innocent model: none, it is the "
                "innocent model itself\n"), str(finding))

        of_output = dataclasses.replace(FINDING, failure=CheckFailure("numerics", "", node="l_x_"))
        self.assertNotIn("node", str(of_output))

    def test_what_was_taken_out(self):
        """Operators in whose place one value is read are named at once; without any the line is left out."""
        removed = [f"{name} removed, {source} read instead"
                   for name, source in (("a", "x"), ("b", "y"), ("c", "x"))]
        self.assertIn("\n  then made smaller: a, c removed, x read instead; output 0 dropped; b removed, y read "
                      "instead\n", told(taken_out=(removed[0], "output 0 dropped", *removed[1:])))
        self.assertNotIn("then made smaller", told())


if __name__ == "__main__":
    unittest.main()
