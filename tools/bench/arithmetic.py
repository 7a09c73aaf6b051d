"""What is done with measured numbers: parsing, medians, spreads, ratios. No input or output."""

import statistics


def parse(text):
    """({name: (unit, value)}, {name: why it failed}) from the lines that `micro` prints."""
    values, failures = {}, {}
    for line in text.splitlines():
        parts = line.split("\t")
        if len(parts) != 3:
            continue
        name, unit, value = parts
        if unit == "failed":
            failures[name] = value
            continue
        try:
            values[name] = (unit, float(value))
        except ValueError:
            failures[name] = "not a number: " + value
    return values, failures


def median(values):
    return statistics.median(values) if values else None


def spread(values):
    """How far half of the values lie apart, as a share of the median; None for fewer than three."""
    if len(values) < 3 or median(values) == 0:
        return None
    ordered = sorted(values)
    quarters = statistics.quantiles(ordered, n=4, method="inclusive")
    return (quarters[2] - quarters[0]) / median(values)


def ratio(values, base):
    """The medians' ratio, or None where one is missing or the base is 0."""
    if not values or not base or not median(base):
        return None
    return median(values) / median(base)


class Results:
    """Every measured value: by benchmark, then by environment, a list in the order of the rounds."""

    def __init__(self, machine=None, settings=None):
        self.machine = machine or {}
        self.settings = settings or {}
        self.environments = []
        self.units = {}
        self.whats = {}
        self.values = {}
        self.failures = {}

    def describe(self, name, unit, what):
        self.units[name] = unit
        self.whats[name] = what

    def add(self, environment, name, unit, value):
        if environment not in self.environments:
            self.environments.append(environment)
        self.units.setdefault(name, unit)
        self.values.setdefault(name, {}).setdefault(environment, []).append(value)

    def fail(self, environment, name, why):
        if environment not in self.environments:
            self.environments.append(environment)
        self.failures.setdefault(name, {})[environment] = why

    def names(self):
        """Described ones first, in their order."""
        known = [n for n in self.whats if n in self.values or n in self.failures]
        return known + [n for n in self.values if n not in self.whats]

    def of(self, name, environment):
        return self.values.get(name, {}).get(environment, [])

    def ratio(self, name, environment, base):
        return ratio(self.of(name, environment), self.of(name, base))

    def to_json(self):
        return {"machine": self.machine, "settings": self.settings, "environments": self.environments,
                "benchmarks": [{"name": n, "unit": self.units.get(n, ""), "what": self.whats.get(n, ""),
                                "values": self.values.get(n, {}), "failures": self.failures.get(n, {})}
                               for n in self.names()]}

    @classmethod
    def from_json(cls, document):
        results = cls(document["machine"], document["settings"])
        results.environments = list(document["environments"])
        for benchmark in document["benchmarks"]:
            name = benchmark["name"]
            results.describe(name, benchmark["unit"], benchmark["what"])
            if benchmark["values"]:
                results.values[name] = benchmark["values"]
            if benchmark["failures"]:
                results.failures[name] = benchmark["failures"]
        return results
