"""One page of what came out: `index.html`, which opens anywhere and fetches nothing.

`evidence` reads one sweep, `findings` says what its statistics allow, `charts` draws, `runs` shows what stands behind
each point, `build` puts them into `templates/`. Whatever a record, a label or an answer holds is text here: Jinja
escapes all of it, and the page's own policy lets no script in but its own.
"""
