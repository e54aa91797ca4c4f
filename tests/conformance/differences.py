"""The table of differences between servers."""

TITLES = {"ringate": "Ringate", "nginx": "nginx", "haproxy": "HAProxy", "nghttpd": "nghttpd"}


def shown(found, name, case):
    """What a server made of a case: on the plain port, and with TLS where that differs. A verdict against it is bold."""
    cells = []
    for tls in (False, True):
        verdict, observed = found[name, tls][case.name]
        observed = observed.replace("|", "\\|")
        cells.append(f"**{observed}**" if verdict == "failed" else observed)
    return cells[0] if cells[0] == cells[1] else f"{cells[0]}; TLS: {cells[1]}"


def kind(observed):
    """An error by GOAWAY and one by the connection's end are the same."""
    return "connection error" if observed.startswith(("GOAWAY", "closed")) else observed


def differs(found, names, case):
    for tls in (False, True):
        results = [found[name, tls][case.name] for name in names]
        if any(verdict == "failed" for verdict, _ in results) or len({kind(observed) for _, observed in results}) > 1:
            return True
    return False


def table(chosen, names, versions, found):
    """Markdown: how many cases each server fails, and the cases in which they differ."""
    lines = [
        "# Where servers differ on HTTP/2",
        "",
        f"Made by `scripts/conformance --peers --out tests/data/http2/DIFFERENCES.md` with {', '.join(versions[name] for name in names)},",
        "each with the config that its documentation shows for a proxy before one HTTP/1.1 backend (nghttpd serves a file), and timeouts of 5 s.",
        f"Of {len(chosen)} cases, the table has those where a server fails, or where they do not do the same. What is bold is not what the section asks for.",
        "",
        "| | " + " | ".join(TITLES[name] for name in names) + " |",
        "| --- |" + " --- |" * len(names),
    ]
    for tls, title in ((False, "failed, plain"), (True, "failed, TLS")):
        counts = [sum(verdict == "failed" for verdict, _ in found[name, tls].values()) for name in names]
        lines.append(f"| {title} | " + " | ".join(map(str, counts)) + " |")
    groups = dict.fromkeys(case.name.split("/")[0] for case in chosen)
    for group in groups:
        rows = [case for case in chosen if case.name.split("/")[0] == group and differs(found, names, case)]
        if rows:
            lines += ["", f"## {group}", "", "| case | section | what is sent | " + " | ".join(TITLES[name] for name in names) + " |"]
            lines.append("| --- | --- | --- |" + " --- |" * len(names))
            for case in rows:
                cells = [shown(found, name, case) for name in names]
                lines.append(f"| {case.name} | {case.section} | {case.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
