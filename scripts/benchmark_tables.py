"""Figures of the benchmark as Markdown tables."""

from markdown_tables import markdown_table, number


def programs_of(results):
    return [name for name in ("ekd", "other", "P1", "P2", "P3") if any(name in result["images_per_s"] for result in results)]


def rate_table(results):
    """Images per second as median (smallest–largest), and ekd's median over each peer's."""
    programs = programs_of(results)
    rows = [["case", *(f"{name}, images/s" for name in programs), *(f"ekd / {name}" for name in programs[1:])]]
    for result in results:
        rates, ratio = result["images_per_s"], result["ratio"]
        cells = [f"{number(r['median'])} ({number(r['min'])}–{number(r['max'])})" if (r := rates.get(name)) else "" for name in programs]
        rows.append([result["case"], *cells, *(f"{ratio[name]:.2f}" if name in ratio else "" for name in programs[1:])])
    return markdown_table(rows)


def cost_table(results):
    """Medians of what a program needs besides: memory, and time outside steps."""
    programs, keys = programs_of(results), {"peak_memory_mb": "peak MB", "start_s": "start s", "warmup_s": "warm-up s"}
    columns = [(name, key) for key in keys for name in programs if any(name in result.get(key, {}) for result in results)]
    rows = [["case", *(f"{name}, {keys[key]}" for name, key in columns)]]
    for result in results:
        rows.append([result["case"], *(number(r["median"]) if (r := result.get(key, {}).get(name)) else "" for name, key in columns)])
    return markdown_table(rows)
