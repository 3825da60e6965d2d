"""Commands: parse, load, call, save. One thin module for each job; `app` names them."""
