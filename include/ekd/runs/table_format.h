// One grid of cells as plain text, Markdown, LaTeX or CSV. Cells are UTF-8.
#pragma once

#include <string>
#include <vector>

namespace ekd {

enum class TableFormat { kText, kMarkdown, kLatex, kCsv };

// The first row is the heading; all rows are equally long; the first column is left-aligned, the others right-aligned.
// Text: columns as wide as their widest cell, two spaces between. LaTeX: a tabular with booktabs' rules, all characters
// escaped. CSV: RFC 4180 with plain newlines. Ends with a newline.
std::string format_table(const std::vector<std::vector<std::string>>& rows, TableFormat format);

// A remark below a table of that format; nothing in CSV.
std::string format_note(const std::string& text, TableFormat format);

}  // namespace ekd
