#include "ekd/runs/table_format.h"

#include <algorithm>
#include <functional>
#include <map>

namespace ekd {
namespace {

using Row = std::vector<std::string>;

bool starts_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

std::string repeat(const std::string& text, std::size_t times) {
  std::string result;
  while (times-- > 0) result += text;
  return result;
}

// Every row between `open` and `close`, its cells changed and joined.
std::string joined(const Row& row, const std::string& open, const std::string& between, const std::string& close,
                   const std::function<std::string(const std::string&)>& change) {
  std::string line = open;
  for (std::size_t i = 0; i < row.size(); ++i) line += (i == 0 ? "" : between) + change(row[i]);
  return line + close + '\n';
}

std::string text_table(const std::vector<Row>& rows) {
  const auto width = [](const std::string& cell) {
    return static_cast<std::size_t>(std::ranges::count_if(cell, starts_character));
  };
  std::vector<std::size_t> widths(rows.front().size());
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding = repeat(" ", widths[i] - width(row[i]));
      line += i == 0 ? row[i] + padding : "  " + padding + row[i];
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + '\n';
  }
  return text;
}

std::string markdown_cell(const std::string& cell) {
  std::string text;
  for (const char c : cell) text += c == '|' ? "\\|" : std::string(1, c);
  return text;
}

std::string markdown_table(const std::vector<Row>& rows) {
  std::string text;
  for (const auto& row : rows) {
    text += joined(row, "| ", " | ", " |", markdown_cell);
    if (&row == &rows.front()) text += "|---|" + repeat("---:|", row.size() - 1) + '\n';
  }
  return text;
}

std::string latex_cell(const std::string& cell) {
  static const std::map<std::string, std::string> kSpelled{{"&", "\\&"},
                                                           {"%", "\\%"},
                                                           {"$", "\\$"},
                                                           {"#", "\\#"},
                                                           {"_", "\\_"},
                                                           {"{", "\\{"},
                                                           {"}", "\\}"},
                                                           {"~", "\\textasciitilde{}"},
                                                           {"^", "\\textasciicircum{}"},
                                                           {"\\", "\\textbackslash{}"},
                                                           {"<", "$<$"},
                                                           {">", "$>$"},
                                                           {"|", "$|$"},
                                                           {"±", "$\\pm$"},
                                                           {"−", "$-$"},
                                                           {"–", "--"},
                                                           {"✓", "$\\surd$"},
                                                           {"✗", "$\\times$"},
                                                           {"σ", "$\\sigma$"}};
  std::string text;
  for (std::size_t begin = 0, end; begin < cell.size(); begin = end) {
    for (end = begin + 1; end < cell.size() && !starts_character(cell[end]);) ++end;
    const std::string character = cell.substr(begin, end - begin);
    const auto spelled = kSpelled.find(character);
    text += spelled == kSpelled.end() ? character : spelled->second;
  }
  return text;
}

std::string latex_table(const std::vector<Row>& rows) {
  std::string text =
      "% \\usepackage{booktabs}\n\\begin{tabular}{l" + repeat("r", rows.front().size() - 1) + "}\n\\toprule\n";
  for (const auto& row : rows) {
    text += joined(row, "", " & ", " \\\\", latex_cell);
    if (&row == &rows.front()) text += "\\midrule\n";
  }
  return text + "\\bottomrule\n\\end{tabular}\n";
}

std::string csv_cell(const std::string& cell) {
  if (cell.find_first_of(",\"\r\n") == std::string::npos) return cell;
  std::string text = "\"";
  for (const char c : cell) text += c == '"' ? "\"\"" : std::string(1, c);
  return text + '"';
}

}  // namespace

std::string format_table(const std::vector<Row>& rows, TableFormat format) {
  if (format == TableFormat::kText) return text_table(rows);
  if (format == TableFormat::kMarkdown) return markdown_table(rows);
  if (format == TableFormat::kLatex) return latex_table(rows);
  std::string text;
  for (const auto& row : rows) text += joined(row, "", ",", "", csv_cell);
  return text;
}

std::string format_note(const std::string& text, TableFormat format) {
  if (format == TableFormat::kText) return text + '\n';
  if (format == TableFormat::kMarkdown) return '\n' + text + '\n';
  return format == TableFormat::kLatex ? "% " + latex_cell(text) + '\n' : "";  // with the table's own marks
}

}  // namespace ekd
