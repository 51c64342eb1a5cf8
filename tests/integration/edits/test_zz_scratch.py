from __future__ import annotations
from datetime import timedelta
from uuid import uuid4
from fastapi.testclient import TestClient
from headend.web.app import create_app
from support.editor import Editor
from support.field import T0
QUARTER = timedelta(minutes=15)

def test_scratch(editor: Editor) -> None:
    field = editor.field
    area, meter = field.area(), field.meter("h")
    p = field.point(area, "H")
    field.install(p, meter, start=0)
    stamps = [T0 + k * QUARTER for k in range(2 * 96 + 1) if not 40 < k < 51]
    field.store_readings([(meter, at, 100 * ((at - T0) // QUARTER)) for at in stamps])
    field.mark_reading(area, stamps)
    field.point(area, "NOMETER")
    editor.settle()
    client = TestClient(create_app(field.store, field.settings, lambda: editor.now), raise_server_exceptions=False)
    def body(**more):
        said = {"edit_id": str(uuid4()), "from": (T0 + 41*QUARTER).isoformat(), "to": (T0+43*QUARTER).isoformat(), "energies_wh": [10, 20], "by": "L", "reason": "r"}
        said.update(more)
        return {k: v for k, v in said.items() if v is not ...}
    aside = {"kind": "readings", "energies_wh": ..., "meter": {"manufacturer": "Acme", "serial": "h"}}
    cases = {
      "string energies": body(energies_wh="10,20"),
      "strings in": body(energies_wh=["10", "20"]),
      "bools": body(energies_wh=[True, False]),
      "floats": body(energies_wh=[1.0, 2.0]),
      "frac": body(energies_wh=[1.5, 2.5]),
      "null": body(energies_wh=[None, 2]),
      "huge": body(energies_wh=[10**400, 2]),
      "big63": body(energies_wh=[2**63, 2]),
      "neg": body(energies_wh=[-1, 2]),
      "total huge": body(energies_wh=..., total_wh=10**30),
      "total bool": body(energies_wh=..., total_wh=True),
      "total str": body(energies_wh=..., total_wh="30"),
      "year1": body(**{"from": "0001-01-01T00:00:00+08:00", "to": "0001-01-01T00:30:00+08:00"}),
      "year1z": body(**{"from": "0001-01-01T00:00:00Z", "to": "0001-01-01T00:30:00Z"}),
      "year1-now": body(**{"from": "0001-01-01T00:00:00Z"}),
      "year9999": body(**{"from": "9999-12-31T00:00:00Z", "to": "9999-12-31T23:59:59.999999Z"}),
      "1900": body(**{"from": "1900-01-01T00:00:00+08:00", "to": "1900-01-01T00:30:00+08:00"}),
      "number ts": body(**{"from": 1772380800}),
      "naive": body(**{"from": "2026-03-02T10:15:00"}),
      "offset": body(**{"from": "2026-03-01T23:45:00-02:30", "to": "2026-03-02T00:15:00-02:30"}),
      "kind x": body(kind="x"),
      "dir": body(direction="up"),
      "export": body(direction="export"),
      "id": body(edit_id="x"),
      "id num": body(edit_id=5),
      "html": body(reason="<script>alert(1)</script>", by="<b>x</b>"),
      "surrogate": None,
      "long": body(reason="x" * 501),
      "aside y1": body(**aside, **{"from": "0001-01-01T00:00:00Z", "to": (T0+30*QUARTER).isoformat()}),
      "aside y1b": body(**aside, **{"from": "0001-01-01T00:00:00+14:00", "to": (T0+30*QUARTER).isoformat()}),
      "aside 2000": body(**aside, **{"from": "2000-01-01T00:00:00Z", "to": (T0+10*QUARTER).isoformat()}),
      "aside 9999": body(**aside, **{"from": (T0+190*QUARTER).isoformat(), "to": "9999-12-31T23:59:59.999999Z"}),
      "aside future": body(**aside, **{"from": (T0+190*QUARTER).isoformat(), "to": "2126-12-31T23:59:59.999999Z"}),
      "aside values": body(kind="readings", meter={"manufacturer": "Acme", "serial": "h"}),
      "aside rev": body(**aside, **{"from": (T0+191*QUARTER).isoformat(), "to": (T0+190*QUARTER).isoformat()}),
      "list": [],
      "empty energies": body(energies_wh=[]),
      "both null": body(energies_wh=None),
    }
    import json
    for name, b in cases.items():
        for tail in ("edits/preview", "edits"):
            if name == "surrogate":
                raw = json.dumps(body()).replace('"r"', '"\\ud800"')
            else:
                raw = json.dumps(b)
            a = client.post("/api/v1/usage-points/H/" + tail, content=raw, headers={"content-type": "application/json"})
            print(f"{name:16} {tail:14} {a.status_code} {a.text[:230]}")
    for raw in (json.dumps(body()).replace("[10, 20]", "[NaN, 1]"), json.dumps(body()).replace("[10, 20]", "[Infinity, 1]"), json.dumps(body()).replace("[10, 20]", "[" + "9"*5000 + ", 1]"), json.dumps(body()).replace("[10, 20]", "[1e400, 1]"), "{", "[" * 100000, json.dumps(body(energies_wh=[1]*1000000))):
        a = client.post("/api/v1/usage-points/H/edits", content=raw, headers={"content-type": "application/json"})
        print("RAW", raw[:30], a.status_code, a.text[:200])
    a = client.post("/api/v1/usage-points/NOMETER/edits", json=body()); print("NOMETER", a.status_code, a.text[:200])
    import time
    t = time.time()
    print("edits now", [(e["kind"], e["from"], e["to"], e["first_day"], e["last_day"]) for e in client.get("/api/v1/edits").json()["items"]])
    print("marked", len(editor.marked()), editor.marked()[:3], editor.marked()[-3:])
    for path in ("/usage-points/H?day=0001-01-01", "/usage-points/H?day=9999-12-31", "/usage-points/H?day=2026-03-02", "/edits", "/edits?cursor=x", "/api/v1/usage-points/H/intervals?day=0001-01-01", "/api/v1/usage-points/H/intervals?day=9999-12-31", "/edits?by=%00", "/api/v1/edits?by=%00", "/usage-points/%00", "/api/v1/usage-points/%00/intervals", "/usage-points/H?aside=%00", "/api/v1/usage-points/%00/edits"):
        a = client.get(path, headers={"accept": "text/html"} if not path.startswith("/api") else {})
        print(path, a.status_code, "<script>alert" in a.text, a.text[:100] if a.status_code >= 400 and path.startswith("/api") else "")
    for form in ({"action": "make"}, {"action": "preview", "from": "0001-01-01T00:00", "to": "0001-01-01T00:30", "total": "1", "by": "x", "reason": "y", "edit_id": str(uuid4())}, {"from": "2026-03-02T10:15", "to": "2026-03-02T10:45", "total": "1e999999", "by": "x", "reason": "y", "edit_id": str(uuid4())}, {"day": "x"}, {"from": "2026-03-02T10:15", "to": "2026-03-02T10:45", "total": "0.03", "by": "x\0", "reason": "y", "edit_id": "x", "action":"make"}, {"from": "2026-03-02T10:15", "to": "2026-03-02T10:45", "total": "0.03", "by": "李伟", "reason": "y;\r\nSet-Cookie: a=b", "edit_id": str(uuid4()), "action":"make", "day": "9999-12-31"}):
        a = client.post("/usage-points/H/edits", data=form, headers={"accept": "text/html"}, follow_redirects=False)
        print("FORM", form, a.status_code, a.headers.get("location"), a.headers.get("set-cookie"))
    print("ONE", client.post("/api/v1/usage-points/%00/edits", json=body()).text[:200])
