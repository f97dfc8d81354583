"""The article: from the results of a build directory to article.html and article.pdf.

It reads plan.json, result.json, records.parquet and curves.csv, and nothing else of the study.
"""
