// Shows the experiments in whose row or study every word stands; without JavaScript the table shows all.
const field = document.querySelector(".search input");
const count = document.querySelector("#count");
const groups = [...document.querySelectorAll("#experiments tbody")];

function show() {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0, all = 0;
  for (const group of groups) {
    const [study, ...rows] = group.rows;
    for (const row of rows) {
      const text = `${study.textContent} ${row.textContent}`.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    all += rows.length;
    group.hidden = rows.every((row) => row.hidden);
  }
  count.textContent = words.length ? `${shown} of ${all} experiments` : `${all} experiments`;
}

field.parentElement.hidden = false;
field.addEventListener("input", show);
show(); // a field may keep its words when one comes back
