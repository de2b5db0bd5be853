#include "ekd/study/report_table.h"

#include <cmath>

#include "ekd/core/error.h"
#include "ekd/settings/differing_settings.h"
#include "tests/support/expect_error.h"

namespace ekd {
namespace {

std::vector<ReportRow> two_rows() {
  ReportRow teacher{"teacher_none", {0, 1, 2}, {}, true, {}};
  teacher.values["accuracy"] = {0.751, 0.0021, 0.743, 0.759};
  teacher.values["ece100"] = {0.11, 0.002, 0.104, 0.116};
  teacher.paper["accuracy"] = {0.7563, 0.751 - 0.7563, 0.004};  // |−.0053| ≤ .008
  teacher.paper["ece100"] = {0.1104, -0.0204, 0.003};
  ReportRow own{"a & b", {0}, {}, false, {}};
  own.values["accuracy"] = {0.5, std::nullopt, std::nullopt, std::nullopt};
  return {teacher, own};
}

std::string table(TableFormat format, const std::string& columns = "accuracy,ece100,accuracy_interval") {
  return report_table(two_rows(), choose_columns(columns, false), format);
}

TEST(ReportTable, Text) {
  EXPECT_EQ(table(TableFormat::kText),
            "name          n    accuracy %  paper     diff   ECE (100 bins)   paper       diff  accuracy % 95 %\n"
            "teacher_none  3  75.10 ± 0.21  75.63  −0.53 ✓  0.1100 ± 0.0020  0.1104  −0.0204 ✗   [74.30, 75.90]\n"
            "a & b         1         50.00      –        –                –       –          –                –\n"
            "diff: ours − paper; ✓ within 2σ (few seeds: t·σ) of sampling and seed noise, ✗ beyond, ? not known (no "
            "saved predictions)\n");
}

TEST(ReportTable, Markdown) {
  EXPECT_EQ(table(TableFormat::kMarkdown, "accuracy"),
            "| name | n | accuracy % | paper | diff |\n"
            "|---|---:|---:|---:|---:|\n"
            "| teacher_none | 3 | 75.10 ± 0.21 | 75.63 | −0.53 ✓ |\n"
            "| a & b | 1 | 50.00 | – | – |\n"
            "\n"
            "diff: ours − paper; ✓ within 2σ (few seeds: t·σ) of sampling and seed noise, ✗ beyond, ? not known (no "
            "saved predictions)\n");
}

TEST(ReportTable, LatexWithBooktabs) {
  EXPECT_EQ(table(TableFormat::kLatex, "accuracy"),
            "% \\usepackage{booktabs}\n"
            "\\begin{tabular}{lrrrr}\n"
            "\\toprule\n"
            "name & n & accuracy \\% & accuracy \\%, paper & accuracy \\%, diff \\\\\n"
            "\\midrule\n"
            "teacher\\_none & 3 & 75.10 $\\pm$ 0.21 & 75.63 & $-$0.53 $\\surd$ \\\\\n"
            "a \\& b & 1 & 50.00 & -- & -- \\\\\n"
            "\\bottomrule\n"
            "\\end{tabular}\n"
            "% diff: ours $-$ paper; $\\surd$ within 2$\\sigma$ (few seeds: t·$\\sigma$) of sampling and seed noise, "
            "$\\times$ beyond, ? not known (no saved predictions)\n");
}

TEST(ReportTable, CsvInFullPrecision) {
  auto rows = two_rows();
  rows[0].values["accuracy"].mean = 1.0 / 3;
  rows[1].name = "a, \"b\"";
  EXPECT_EQ(
      report_table(rows, choose_columns("accuracy,accuracy_interval,nll", true), TableFormat::kCsv),
      "name,n,accuracy_mean,accuracy_std,accuracy_low,accuracy_high,accuracy_paper,accuracy_difference,accuracy_sigma,"
      "accuracy_within,nll_mean,nll_std,nll_low,nll_high\n"
      "teacher_none,3,0.3333333333333333,0.0021,0.743,0.759,0.7563,-0.005299999999999971,0.004,true,,,,\n"
      "\"a, \"\"b\"\"\",1,0.5,,,,,,,,,,,\n");
}

TEST(ReportTable, NoPaperNoNote) {
  const std::vector<ReportRow> rows{two_rows()[1]};
  EXPECT_EQ(report_table(rows, choose_columns("accuracy", false), TableFormat::kText),
            "name   n  accuracy %\n"
            "a & b  1       50.00\n");
  // Published numbers stand beside chosen columns only.
  EXPECT_EQ(report_table(two_rows(), choose_columns("nll,accuracy_interval", false), TableFormat::kText),
            "name          n  NLL  accuracy % 95 %\n"
            "teacher_none  3    –   [74.30, 75.90]\n"
            "a & b         1    –                –\n");
}

TEST(ReportTable, LatexEscapesEverythingSpecial) {
  EXPECT_EQ(format_table({{"a_b%c#d$e{f}~g^h\\i&<j>|"}}, TableFormat::kLatex),
            "% \\usepackage{booktabs}\n\\begin{tabular}{l}\n\\toprule\n"
            "a\\_b\\%c\\#d\\$e\\{f\\}\\textasciitilde{}g\\textasciicircum{}h\\textbackslash{}i\\&$<$j$>$$|$ \\\\\n"
            "\\midrule\n\\bottomrule\n\\end{tabular}\n");
  EXPECT_EQ(format_table({{"a|b", "c"}}, TableFormat::kMarkdown), "| a\\|b | c |\n|---|---:|\n");
}

TEST(ReportTable, Json) {
  const auto json = report_json(two_rows(), choose_columns("", true));
  const auto& teacher = json.at("rows").at(0);
  EXPECT_EQ(teacher.at("n"), 3);
  EXPECT_EQ(teacher.at("accuracy").dump(), R"({"mean":0.751,"std":0.0021,"low":0.743,"high":0.759})");
  EXPECT_EQ(teacher.at("paper").dump(), R"({"accuracy":0.7563,"ece100":0.1104,"oe100":null})");
  EXPECT_EQ(teacher.at("within").dump(), R"({"accuracy":true,"ece100":false,"oe100":null})");
  EXPECT_EQ(teacher.at("sigma").at("ece100"), 0.003);
  EXPECT_DOUBLE_EQ(teacher.at("difference").at("accuracy").get<double>(), 0.751 - 0.7563);
  for (const auto& column : report_columns()) EXPECT_TRUE(teacher.contains(column.name)) << column.name;
  const auto& own = json.at("rows").at(1);
  EXPECT_EQ(own.at("accuracy").dump(), R"({"mean":0.5,"std":null,"low":null,"high":null})");
  for (const auto* part : {"paper", "difference", "sigma", "within"}) EXPECT_TRUE(own.at(part).is_null()) << part;
  auto rows = two_rows();
  rows[0].values["nll"].mean = INFINITY;
  EXPECT_TRUE(report_json(rows, choose_columns("nll", true)).at("rows").at(0).at("nll").at("mean").is_null());
}

TEST(PublishedValue, IsWithinTwoSigma) {
  EXPECT_EQ((PublishedValue{0.75, -0.008, 0.004}.within()), true);
  EXPECT_EQ((PublishedValue{0.75, 0.0081, 0.004}.within()), false);
  EXPECT_FALSE((PublishedValue{0.75, 0, std::nullopt}.within().has_value()));
  EXPECT_EQ((PublishedValue{0.75, 0.05, 0.004, 1}.within()), true) << "12.5σ, of two seeds that may agree by chance";
  EXPECT_EQ((PublishedValue{0.75, 0.051, 0.004, 1}.within()), false);
}

TEST(ChooseColumns, ByName) {
  EXPECT_EQ(choose_columns("", false).size(), 5U);
  EXPECT_EQ(choose_columns("", true).size(), report_columns().size());
  EXPECT_TRUE(choose_columns("ece15_floor_interval", false).at(0).interval);
  EXPECT_ERROR(choose_columns("accuracy,ece10", false), UsageError, "no column 'ece10'");
  EXPECT_ERROR(choose_columns("acuracy", false), UsageError, "did you mean accuracy?");
  EXPECT_ERROR(choose_columns("acuracy", false), UsageError, "aurc");
  EXPECT_ERROR(choose_columns("accuracy,", false), UsageError, "no column ''");
}

TEST(DifferingSettings, OnlyWhatDiffers) {
  const std::vector<ConfigRow> rows{{"a", {{"optim.lr", "0.1"}, {"optim.epochs", "2"}}},
                                    {"b", {{"optim.lr", "0.2"}, {"optim.epochs", "2"}, {"distill.kd", "add-loss"}}}};
  const std::vector<std::vector<std::string>> expected{
      {"name", "distill.kd", "optim.lr"}, {"a", "–", "0.1"}, {"b", "add-loss", "0.2"}};
  EXPECT_EQ(differing_settings(rows), expected);
  EXPECT_EQ(differing_settings({rows[0], rows[0]})[1].size(), 1U);
}

}  // namespace
}  // namespace ekd
