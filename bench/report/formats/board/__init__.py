"""The interactive board: leaderboards of many runs and published tables in one page.

`view` makes the page's data, one JSON value, from the chapters of a report (`measured`) and from
published tables (`published`); `page` makes the HTML, `folder` writes it for folders of runs. The
page's script filters, sorts and draws what is there and computes no number.
"""
