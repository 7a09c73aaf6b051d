#!/usr/bin/python3
"""The arithmetic, the tables and the chart of tools/bench, on numbers made up for it."""

import unittest
import xml.etree.ElementTree as ElementTree

import arithmetic
import goals
import processes
import report
import testing


def made_up():
    results = arithmetic.Results({"processor": "P", "processors": 2, "release": "6"}, {"rounds": 3})
    results.describe("getpid", "ns", "a call")
    results.describe("fork_exit", "us", "a fork")
    results.describe("stat", "ns", "a name")
    for value in (100.0, 110.0, 90.0):
        results.add("native", "getpid", "ns", value)
        results.add("systrap", "getpid", "ns", value * 2)
        results.add("runsc systrap", "getpid", "ns", value * 20)
    results.add("native", "fork_exit", "us", 200.0)
    results.add("systrap", "fork_exit", "us", 400.0)
    results.fail("runsc systrap", "fork_exit", "signal 14")
    results.add("systrap", "stat", "ns", 300.0)
    return results


class ArithmeticTest(unittest.TestCase):
    def test_lines_become_values_and_failures(self):
        values, failures = arithmetic.parse("getpid\tns\t12.5\nnoise\nfork\tfailed\tsignal 14\nx\tns\tnan?\n")
        self.assertEqual({"getpid": ("ns", 12.5)}, values)
        self.assertEqual({"fork": "signal 14", "x": "not a number: nan?"}, failures)

    def test_spread_is_the_middle_half_over_the_median(self):
        self.assertIsNone(arithmetic.spread([1, 2]))
        self.assertEqual(0, arithmetic.spread([5, 5, 5]))
        self.assertAlmostEqual(0.5, arithmetic.spread([2, 4, 6, 3, 5]))

    def test_ratio_is_of_medians(self):
        self.assertAlmostEqual(2, arithmetic.ratio([4, 100, 2], [2]))
        self.assertIsNone(arithmetic.ratio([], [2]))
        self.assertIsNone(arithmetic.ratio([1], [0]))

    def test_json_and_back(self):
        results = made_up()
        again = arithmetic.Results.from_json(results.to_json())
        self.assertEqual(results.to_json(), again.to_json())
        self.assertEqual(["native", "systrap", "runsc systrap"], again.environments)


class GoalTest(unittest.TestCase):
    def test_a_ratio_and_an_amount(self):
        results = made_up()
        by_name = {g.name: g for g in goals.GOALS}
        self.assertEqual(False, goals.met(by_name["getpid"], results, "systrap")[0])
        self.assertEqual(True, goals.met(by_name["fork_exit"], results, "systrap")[0])
        self.assertEqual((True, "≤ 400 ns"), goals.met(by_name["stat"], results, "systrap"))
        self.assertIsNone(goals.met(by_name["thread_join"], results, "systrap")[0])


class ReportTest(unittest.TestCase):
    def test_amounts(self):
        for value, unit, text in ((0.123, "ns", "0.123 ns"), (145.4, "ns", "145 ns"), (1234.5, "ns", "1.23 µs"),
                                  (38000, "us", "38.0 ms"), (0, "ms", "0 ms"), (12.34, "MiB", "12.3 MiB")):
            self.assertEqual(text, report.amount(value, unit))

    def test_rows_have_medians_ratios_and_failures(self):
        lines = report.rows(made_up())
        self.assertEqual(["benchmark", "native", "systrap", "runsc systrap"], lines[0])
        self.assertEqual(["getpid", "100 ns", "200 ns 2.00×", "2.00 µs 20×"], lines[1])
        self.assertEqual("failed: signal 14", lines[2][3])
        self.assertEqual(["stat", "–", "300 ns", "–"], lines[3])

    def test_a_peer_appears_where_it_is_slower_than_native(self):
        lines = report.against_peer(made_up(), "systrap", "runsc systrap")
        self.assertEqual([["getpid", "100 ns", "200 ns 2.00×", "2.00 µs 20×", "10×"]], lines[1:])

    def test_the_chart_is_xml_with_a_bar_for_each_ratio(self):
        root = ElementTree.fromstring(report.svg(made_up()))
        titles = [e.text for e in root.iter("{http://www.w3.org/2000/svg}title")]
        self.assertEqual(["getpid systrap 2.00×", "getpid runsc systrap 20×", "fork_exit systrap 2.00×"], titles)

    def test_a_longer_bar_is_a_higher_ratio(self):
        widths = [float(e.get("width")) for e in ElementTree.fromstring(report.svg(made_up())).iter(
            "{http://www.w3.org/2000/svg}rect") if len(e)]
        self.assertGreater(widths[1], widths[0])
        self.assertAlmostEqual(widths[0], widths[2])

    def test_only_the_measured_section_of_a_page_changes(self):
        page = "before\n%s\nold\n%s\nafter\n" % (report.BEGIN, report.END)
        section = report.measured_section(made_up(), "systrap", "runsc systrap")
        new = report.replace_section(page, section)
        self.assertTrue(new.startswith("before\n" + report.BEGIN) and new.endswith(report.END + "\nafter\n"))
        self.assertNotIn("old", new)
        self.assertIn("| getpid | 100 ns | 200 ns 2.00× | 2.00 µs 20× |", new)
        with self.assertRaises(ValueError):
            report.replace_section("no markers", section)


class ProcessesTest(unittest.TestCase):
    def test_descendants(self):
        self.assertEqual([3, 4, 5], processes.descendants(2, {2: 1, 3: 2, 4: 3, 5: 2, 6: 1}))

    def test_fields_of_a_status(self):
        text = "Name:\tx\nPss:   12 kB\nvoluntary_ctxt_switches:\t7\n"
        self.assertEqual({"Pss": 12, "voluntary_ctxt_switches": 7}, processes.status_fields(text))

    def test_this_process_uses_memory_and_time(self):
        self.assertIn(processes.os.getpid(), processes.parents())
        self.assertGreater(processes.memory_kib([processes.os.getpid()])[0], 0)
        self.assertGreater(processes.cpu_ns([processes.os.getpid()]), 0)


if __name__ == "__main__":
    testing.main()
